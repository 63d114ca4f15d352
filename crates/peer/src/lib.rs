//! What nodes say to each other: frames, handshake, links. Values only: no sockets, no threads.
