//! The registry over the model store, through its public interface.

mod allocation;
mod deleting;
mod fixture;
mod jobs;
mod networking;
mod reading;
mod repair;
mod services;
mod slices;
mod watching;
mod workloads;
mod writing;
