//! Services in the kernel: desired maps from API objects, and the maps themselves.
