"""What a run leaves for the world: a model bundle, and the list of published bundles.

A bundle is a pure function of the run's final state, plan and statistics: no clock, no pod
name. So every retry writes the same bytes, and whoever publishes publishes the same model.
"""
