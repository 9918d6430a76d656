"""A fleet of servers that never existed, recorded in the layout of the training guide.

It decides values from a seed alone; it reads no clock and trains nothing.
"""
