"""PoseMoE: an expert for the 2D pose and one for the depth, apart before they work together."""

from lifter.models.pose_moe.context import PoseMoEContext
from lifter.models.pose_moe.decoupled import PoseMoE
from lifter.models.pose_moe.entangled import PoseMoEEntangled

__all__ = ["PoseMoE", "PoseMoEContext", "PoseMoEEntangled"]
