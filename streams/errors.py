"""What can go wrong between the stages.

StreamError
├── BrokerDown      the broker does not answer: wait and try again
├── PoisonedInput   too many bad records at once: a person must look before more is dead-lettered
└── StateMismatch   a checkpoint that this version cannot read
"""


class StreamError(Exception):
    """Base; `str()` is a sentence for people."""


class BrokerDown(StreamError):
    """The broker does not answer."""


class PoisonedInput(StreamError):
    """More records are bad than can be an accident of a few producers."""


class StateMismatch(StreamError):
    """A checkpoint written by another version or for another number of shards."""
