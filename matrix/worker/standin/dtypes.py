"""The numbers of ``DType`` by release.

``DType`` is an enumeration of pybind11, which pickles the number of a member, not its name.
The numbers come from ``enum NVTEDType`` in
``transformer_engine/common/include/transformer_engine/transformer_engine.h``
and changed once: 2.4 put ``kNVTEInt16`` at 1 and shifted all later ones.
Which names Python sees comes from ``transformer_engine/common/util/pybind_helper.h``
(up to 1.13: ``transformer_engine/pytorch/csrc/extensions/pybind.cpp``).
"""

from typing import Dict, Tuple

_UP_TO_2_3 = {
    "kByte": 0,
    "kInt32": 1,
    "kFloat32": 3,
    "kFloat16": 4,
    "kBFloat16": 5,
    "kFloat8E4M3": 6,
    "kFloat8E5M2": 7,
}
_FROM_2_4 = {
    "kByte": 0,
    "kInt32": 2,
    "kFloat32": 4,
    "kFloat16": 5,
    "kBFloat16": 6,
    "kFloat8E4M3": 7,
    "kFloat8E5M2": 8,
}
_FROM_2_8 = dict(_FROM_2_4, kFloat4E2M1=10)


def numbers(version: Tuple[int, int]) -> Dict[str, int]:
    """Return the numbers of ``DType`` members by name.

    :param version: (major, minor) of the release.
    """
    if version >= (2, 8):
        return _FROM_2_8
    if version >= (2, 4):
        return _FROM_2_4
    return _UP_TO_2_3
