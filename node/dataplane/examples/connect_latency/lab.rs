//! The socket programs and so many Services in front of the servers.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use keelson_dataplane::{
    Dataplane, Object,
    plan::{Frontend, FrontendKey, Protocol},
};

use crate::{
    Result,
    place::Place,
    wire::{SERVICE_PORT, service},
};

pub(crate) struct Lab {
    _dataplane: Dataplane,
    place: Place,
}

impl Lab {
    /// `name`: the way that lives under it; `measure`: with the metrics or without; `object`: other programs than usual.
    pub(crate) fn new(
        name: &str,
        services: usize,
        backends: &[SocketAddr],
        measure: bool,
        object: Option<&Path>,
    ) -> Result<Self> {
        let mut place = Place::new(name, measure)?;
        if let Some(object) = object {
            place.options.object = Object::File(object.into());
        }
        let mut dataplane = Dataplane::open(&place.options)?;
        let mut backends = backends.to_vec();
        backends.sort_unstable();
        let frontend = |number| Frontend {
            key: FrontendKey { address: service(number).into(), port: SERVICE_PORT, protocol: Protocol::Tcp },
            backends: backends.clone(),
            affinity_s: 0,
        };
        dataplane.replace(&(0..services).map(frontend).collect::<Vec<_>>())?;
        dataplane.attach()?;
        Ok(Self { _dataplane: dataplane, place })
    }

    /// The folder that a process joins.
    pub(crate) fn cgroup(&self) -> PathBuf {
        self.place.options.cgroup_root.clone()
    }
}
