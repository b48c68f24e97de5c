"""What works here, found by trying it: what a report of a fault should contain.

    report       the findings, as text and as JSON
    packages     which packages there are, and whether they can be imported
    system       the machine: processor, devices, memory, disk
    features     what the package does, each tried on a tiny ticket
    diagnose     all of them

Nothing outside the standard library is imported before it is tried, so that a broken environment is a finding.
May import everything but cli.
"""
