//! The registry over the model store, through its public interface.

mod allocation;
mod applying;
mod autoscaling;
mod deleting;
mod eviction;
mod fixture;
mod jobs;
mod limits;
mod managing;
mod networking;
mod pods;
mod reading;
mod repair;
mod services;
mod slices;
mod storage;
mod watching;
mod workloads;
mod writing;
