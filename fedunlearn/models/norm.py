"""Group normalisation (Wu & He, "Group Normalization", ECCV 2018) for any number of channels.

Unlike batch normalisation it keeps no running statistics, so that there is nothing but weights to average between
clients and a model cannot tell, through its buffers, whose images it has seen.
"""

from __future__ import annotations

from torch import nn

MOST_GROUPS = 32  # the paper's default


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm with the most groups that divide `channels`, at most 32 and of at least two channels each.

    Two, because a group of one channel would be instance normalisation, which removes each channel's strength. One
    channel, or a prime number of them, is a single group.
    """
    groups = max((g for g in range(1, MOST_GROUPS + 1) if channels % g == 0 and channels // g >= 2), default=1)
    return nn.GroupNorm(groups, channels)
