"""A run's place in the bucket: plan, statistics, claims, saved states, the final state.

Every "only one may win" is `Store.put_new`; nothing is ever overwritten. The room knows no
model and no data: a state is tensors and a JSON document that the training room owns.
"""
