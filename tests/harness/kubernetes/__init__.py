"""What apiserver tests share: a real API server, faults before it, and whoever is missing behind it.

apiserver    find_server(), own_server() -> Server: throw-away API servers, never a foreign cluster
api          Api: a synchronous admin client; Account: a ServiceAccount with exact rights
waiting      wait_until(), conditions(), posecluster()
resources    kinds and paths
proxy        FaultProxy, Rule, Call: faults between a caller and the API server, and a log of all calls
forwarding   how the proxy passes one call on, with its fault
player       Player: the Deployment controller, kubelet and garbage collector in a thread
pod_status   what kubelet 1.34 says of pods, by Behaviour
operator     start_operator() -> OperatorProcess: the operator as a child process
fast_operator FAST: shorter windows of the autoscaler, and the entry point of an operator that has them
planted      planted(), WallClock: an operator with a slip, or with another wall clock
crowds       very many objects at once, and what an operator did for each
"""
