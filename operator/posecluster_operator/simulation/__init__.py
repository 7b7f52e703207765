"""What the operator's autoscaler would do: the same code over simulated pods, beside fixed sizes and an HPA.

    trace, patterns   how many requests come in each second or minute
    arrivals          when each comes, how long it takes, where it is thrown: drawn once, the same for all
    pods              a pod's queue and workers; all of them, which are resized
    run               one way of sizing over all arrivals, to an Outcome
    own, rivals       the ways: the autoscaler; a fixed size; an HPA on CPU
    compare           all of them over the same arrivals
    report, textplot, plot   the result for people

Everything is drawn from the seed: the same input gives the same output.
"""
