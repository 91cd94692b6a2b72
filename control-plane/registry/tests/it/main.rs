//! The registry over the model store, through its public interface.

mod allocation;
mod autoscaling;
mod deleting;
mod eviction;
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
