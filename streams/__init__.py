"""Faust and Kafka: the stages between the topics. No arithmetic lives here."""
