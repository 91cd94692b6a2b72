//! Node ports that no process may bind, a bit each.

use std::collections::BTreeMap;

use keelson_ebpf_common::{
    layout,
    net::{Port, Protocol},
    node,
};
use keelson_sys::bpf::Map;
use zerocopy::IntoBytes;

use super::Dataplane;
use crate::{Error, plan::NodePort};

impl Dataplane {
    /// Makes exactly these ports nobody's to bind. Answers those that were free until now.
    pub fn set_node_ports(&self, ports: impl Iterator<Item = NodePort>) -> Result<Vec<NodePort>, Error> {
        let shape = &layout::NODE_PORTS;
        let map = self.state_map(shape)?;
        let entries = map.entries()?;
        let (before, _) = entries.values.as_chunks::<8>();
        let before: Vec<u64> = before.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        let mut after = vec![0_u64; before.len()];
        let mut new = Vec::new();
        for (number, protocol) in ports {
            let (word, bit) = bit(number, protocol);
            if before[word] & bit == 0 {
                new.push((number, protocol));
            }
            after[word] |= bit;
        }
        let changed: BTreeMap<u32, u64> = (0..)
            .zip(after.iter().zip(&before))
            .filter(|(_, (a, b))| a != b)
            .map(|(i, (a, _))| (i, *a))
            .collect();
        let (keys, words): (Vec<u32>, Vec<u64>) = changed.into_iter().unzip();
        map.update_batch(keys.as_bytes(), words.as_bytes())
            .map_err(|source| Error::Batch { name: shape.name, source })?;
        Ok(new)
    }

    /// An open map of state, which outlives the tables at any scale.
    pub(super) fn state_map(&self, shape: &layout::Shape) -> Result<Map, Error> {
        let map = Map::open_pinned(&self.generation.pins().map(shape))?;
        map.ok_or(Error::Missing { what: "map", name: shape.name })
    }
}

fn bit(number: u16, protocol: Protocol) -> (usize, u64) {
    let (word, bit) = node::port_bit(Port::new(number), protocol as u8)
        .expect("plans name node ports of protocols that have bits");
    (word as usize, bit)
}
