"""The network and its loss: the only place that knows pytorch-forecasting's model.

It shares `data.batch` with the data room and knows no store, no checkpoint and no loop.
"""
