"""What apiserver tests share: a real API server, a fault proxy, and simulated controllers.

apiserver    find_server(), own_server() -> Server: temporary API servers, only clusters for tests
api          Api: a synchronous admin client; Account: a ServiceAccount with exact rights
waiting      wait_until(), conditions(), posecluster()
resources    kinds and paths
proxy        FaultProxy, Rule, Call: faults between a caller and the API server, and a record of all calls
forwarding   how the proxy forwards one call, with its fault
player       Player: the Deployment controller, kubelet and garbage collector in a thread
pod_status   the pod status that kubelet 1.34 writes, by Behaviour
operator     start_operator() -> OperatorProcess: the operator as a child process
fast_operator FAST: shorter windows of the autoscaler, and the entry point of an operator that has them
changed_operator planted(), WallClock: an operator with a planted fault, or with another wall clock
many_objects very many objects, and what an operator did for each
"""
