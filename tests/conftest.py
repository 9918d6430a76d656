"""What holds for every test."""

from hypothesis import settings

# A loaded machine is slow, not wrong.
settings.register_profile("argus", deadline=None)
settings.load_profile("argus")
