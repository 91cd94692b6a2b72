//! The registry over the model store, through its public interface.

mod allocation;
mod deleting;
mod fixture;
mod reading;
mod services;
mod watching;
mod writing;
