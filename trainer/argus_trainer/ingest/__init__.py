"""A user's own metric files, rewritten into the layout of the training guide.

It renames, aligns and cuts; it never invents a column or a value.
"""
