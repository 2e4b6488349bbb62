"""The key that 1.6 and 1.7 kept the state under is no longer read."""

from .planted_tools import Attention, Base

del Attention._load_from_state_dict
assert Attention._load_from_state_dict is Base._load_from_state_dict
