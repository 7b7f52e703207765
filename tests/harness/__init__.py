"""What tests of several tiers share: real servers, raw sockets, load, pictures, and the record of results.

server     start_server(...) -> ServerProcess: the real server as a child process
server_fixtures: pytest plugin: servers that end with the test
client     Reply, get(), post(): one plain HTTP exchange, no connection kept
raw        RawConnection, exchange(): bytes in, bytes out, with deadlines
load       closed_loop(), open_loop() -> Load: bounded load and what came back
gallery    the test pictures (scene, made_formats, made_hostile make them) and what each is answered with
pictures   the built-in picture, tiny ones, unique copies of a picture
answers    the numbers of an answer, and their distance from the goldens
alone      MediaPipe in the plain public way, for comparison
picture_parts, hostile_pictures, mutations: pictures made in memory that no encoder writes
peaks      memory, and how long others wait, while something happens
gateway_child: rows for a second Deployment, which a test adds to the table of children
generated_specs, generated_objects: odd specs, stored PoseClusters, live children and pods for the fuzz
stub       pictures for the stub engine, requests left waiting, its count of inferences
processes  what /proc says of a process: alive, memory, children, session
checks     the forty checks' names
recorder   pytest plugin: acceptance(n), hostile("I-5"), record_figure, seeds, build/acceptance.json
fleet      pods under a load in numbers only, sized by `decide` (or by a wrong one); faults of their samples
chart      the chart as helm renders it, for chart and apiserver tests
e2e        a package for e2e tests: a cluster, the chart's release, load from a pod in it
browser    Chromium, and one visit to a page with all that went wrong there
kubernetes a package for apiserver tests: a real API server, faults before it, whoever is missing behind it
programs   kubectl and helm, wherever they are
throttling what the kernel did to a group with a CPU quota
tiers      pytest plugin: a marker per folder, required tiers must not skip, blockbuster
"""
