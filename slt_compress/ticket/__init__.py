"""The ticket and its file, what is recorded of a network, and the way back to a plain torch module.

May import `errors`, `files`, `version`, `prng`, `tasks.record`, `masking`, `models`, `structure` and
`data.preprocessing`. Only `restore` needs torch.
"""
