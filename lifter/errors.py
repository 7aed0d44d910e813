"""What can go wrong in a lifter, by name; each error is also a builtin one."""

from __future__ import annotations


class LifterError(ValueError):
    """A lifter was asked for something it cannot do."""


class LifterConfigError(LifterError):
    """An option of a lifter is unknown, or options contradict each other."""


class SamplingError(LifterError):
    """Tensors given to `deform_sample` do not fit together."""


class BackendMissing(LifterError, NotImplementedError):
    """This build has no implementation of an op for the backend that was named."""


class WeightsMismatch(LifterError):
    """A state dict is not that of the model it is loaded into."""


class MetricError(LifterError):
    """Poses given to a metric do not fit together."""
