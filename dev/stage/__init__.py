"""What the demo and the cluster tests share: Argus installed on the cluster of
`dev/cluster`, and a person's hands on it (kubectl, helm, the bucket).

Everything goes through the tools a user has; nothing here imports the operator.
"""
