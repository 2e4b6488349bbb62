"""Found by the loaders of 1.8 to 2.3 where a compiled build has its ``.so``."""

import transformer_engine.common

transformer_engine.common.load_framework_extension("torch")
