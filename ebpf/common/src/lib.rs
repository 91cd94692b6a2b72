//! Keys, values, limits and drop reasons shared by the kernel and the user side of the data plane.
#![no_std]
#![forbid(unsafe_code)]
