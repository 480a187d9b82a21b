"""A whole install on Apache Kafka while everything around it fails: what is left must be exact."""
