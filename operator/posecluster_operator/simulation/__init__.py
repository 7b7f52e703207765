"""Simulation of the operator's autoscaler on simulated pods, compared with fixed sizes and an HPA.

    trace, patterns   the number of requests in each second or minute
    arrivals          the time, service time and pod of each request, drawn once for all policies
    pods              a pod's queue and workers, and a set of pods that can be resized
    run               one policy over all arrivals, with its Outcome
    policy_under_test, baselines   the policies: the autoscaler; a fixed size; an HPA on CPU
    compare           all policies over the same arrivals
    report, textplot, plot   the output

All random numbers follow from the seed, so that the same input gives the same output.
"""
