"""What tests of several tiers share: real servers, raw sockets, load, pictures, and the record of results.

server     start_server(...) -> ServerProcess: the real server as a child process
server_fixtures: pytest plugin: servers that end with the test
client     Reply, get(), post(): one plain HTTP exchange on a new connection
raw        RawConnection, exchange(): bytes in, bytes out, with deadlines
load       closed_loop(), open_loop() -> Load: bounded load and what came back
gallery    the test pictures (scene, made_formats, made_hostile generate some) and the expected answers
pictures   the built-in picture, tiny ones, unique copies of a picture
answers    the numbers of an answer, and their distance from golden ones
plain_mediapipe: MediaPipe used as documented, for comparison
picture_parts, hostile_pictures, mutations: pictures made in memory that no encoder writes
peaks      memory, and waiting times of other callers, during an action
gateway_child: rows for a second Deployment, which a test adds to the table of children
generated_specs, generated_objects: specs, stored PoseClusters, live children and pods for the fuzz
stub       pictures for the stub engine, requests in the background, its count of inferences
processes  what /proc reports of a process: alive, memory, children, session
checks     the names of the forty checks
recorder   pytest plugin: acceptance(n), hostile("I-5"), record_figure, seeds, build/acceptance.json
simulated_pods: pods under a load, only in numbers, sized by `decide` (or a wrong one); faulty samples
chart      the chart as helm renders it, for chart and apiserver tests
e2e        a package for e2e tests: a cluster, the chart's release, load from a pod in it
browser    Chromium, and one visit to a page with all errors that occurred there
kubernetes a package for apiserver tests: a real API server, a fault proxy, and simulated controllers
programs   kubectl and helm
throttling how the kernel throttled a group with a CPU quota
tiers      pytest plugin: a marker per folder, no skips in required tiers, blockbuster
"""
