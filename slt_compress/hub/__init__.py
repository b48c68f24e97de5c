"""The Hugging Face hub: tickets and exported files that are named hf://OWNER/NAME, and pushing them there.

    address      hf://OWNER/NAME[/FILE][@REVISION]
    client       the optional library huggingface_hub: found, kept quiet, and its errors in a line
    download     from an address to a file on this machine
    upload       files to a repository, in one commit

Only what an address names is downloaded, and a file is opened by whoever reads such a file from a disk. Leaves out
folders, data sets (`data.hub` opens those with the library `datasets`) and logging in.
May import errors and version.
"""
