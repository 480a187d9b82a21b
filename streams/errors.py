"""What can go wrong between the stages.

StreamError
├── BrokerDown      the broker does not answer: wait and try again
├── Hole            a record was skipped on its way to a stage: start again at the last commit
├── Overtaken       the state is another owner's since: nothing of it may be written
└── PoisonedInput   too many bad records at once: a person must look before more is dead-lettered
"""


class StreamError(Exception):
    """Base; `str()` is a sentence for people."""


class BrokerDown(StreamError):
    """The broker does not answer."""


class Hole(StreamError):
    """A record was skipped on its way to a stage."""


class Overtaken(StreamError):
    """The partition was given up while its state was being changed."""


class PoisonedInput(StreamError):
    """More records are bad than can be an accident of a few producers."""
