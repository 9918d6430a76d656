"""The loop: steps, validation, what a state is made of and when it is saved.

It knows the network and a source of batches; it knows no bucket and no process.
"""
