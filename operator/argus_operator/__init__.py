"""The operator: follows ArgusTrainingJobs from `kubectl apply` to the published model.

A resource goes one way: handlers, reflector -> queue -> reconcile -> observe -> decide -> carry_out
-> status -> events. Deciding is pure; only `cluster` and kopf talk to the API server. It never
imports the trainer, and it never writes spec, labels or annotations of a resource.
"""
