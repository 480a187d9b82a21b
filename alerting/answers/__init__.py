"""The way back: what people answer in Slack and PagerDuty becomes a record on the requests topic."""
