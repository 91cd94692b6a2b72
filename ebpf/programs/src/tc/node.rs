//! What the loader tells the programs at tc and on the uplink's wire of the node, in the same words.

global!(
    /// The node's IPv4 address, 0 without one.
    NODE4: u32 = 0, node4);
global!(
    /// The node's IPv6 address, zeros without one.
    NODE6: [u32; 4] = [0; 4], node6);
global!(
    /// The uplink's index, 0 without one.
    UPLINK: u32 = 0, uplink);
global!(
    /// The first port of translated sources, host order.
    PORTS_FIRST: u32 = 0, ports_first);
global!(
    /// How many such ports there are.
    PORTS_COUNT: u32 = 0, ports_count);
