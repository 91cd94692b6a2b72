//! The maps alone: frontends into empty tables, one of them changed, all of them read back.

use std::time::Instant;

use keelson_dataplane::{Dataplane, plan::Frontend};

use crate::{
    Result,
    place::Place,
    report::{Maps, Times, milliseconds},
    services::frontend,
};

/// Times that all are written, each into new maps.
const WRITES: usize = 5;
/// Changes, each of another Service.
const CHANGES: usize = 1_000;
/// An odd step walks through all Services in an order that is none of theirs.
const STEP: usize = 7_919;

pub(crate) fn measure(services: usize) -> Result<Maps> {
    let wanted: Vec<_> = (0..services).map(frontend).collect();
    let (mut opened, mut written, mut read_back, mut changed) =
        (Times::default(), Times::default(), Times::default(), Times::default());
    for write in 0..WRITES {
        let place = Place::new(&format!("maps-{services}-{write}"), true)?;
        let start = Instant::now();
        let mut dataplane = Dataplane::open(&place.options)?;
        opened.add(milliseconds(start));
        let start = Instant::now();
        let applied = dataplane.replace(&wanted)?;
        written.add(milliseconds(start));
        if let Some(full) = applied.full.first() {
            return Err(full.clone().into());
        }
        let start = Instant::now();
        verify(&Dataplane::open(&place.options)?, &wanted)?;
        read_back.add(milliseconds(start));
        if write == 0 {
            for change in 0..CHANGES {
                let before = &wanted[change * STEP % services];
                let after = Frontend { backends: before.backends[..1].to_vec(), ..before.clone() };
                for frontend in [&after, before] {
                    let start = Instant::now();
                    dataplane.change(&[], std::slice::from_ref(frontend))?;
                    changed.add(milliseconds(start));
                    settle(&mut dataplane)?;
                }
            }
            verify(&Dataplane::open(&place.options)?, &wanted)?;
        }
    }
    let services_per_second = services as f64 / written.median() * 1e3;
    Ok(Maps {
        open_ms: opened.figures(),
        written_ms: written.figures(),
        services_per_second,
        read_back_ms: read_back.figures(),
        change_ms: changed.figures(),
    })
}

/// As a daemon does beside its work; not counted, as changes come further apart.
fn settle(dataplane: &mut Dataplane) -> Result<()> {
    while let Some(settling) = dataplane.begin_settling() {
        settling.wait()?;
        dataplane.settle(settling)?;
    }
    Ok(())
}

/// That the kernel, as this data plane has just read it, holds exactly these.
pub(crate) fn verify(dataplane: &Dataplane, wanted: &[Frontend]) -> Result<()> {
    let found = dataplane.status()?.frontends;
    if found != wanted.len() {
        return Err(format!("{found} frontends are in the kernel, not {}", wanted.len()).into());
    }
    match wanted.iter().find(|frontend| dataplane.frontend(&frontend.key).as_ref() != Some(frontend)) {
        Some(wrong) => {
            let found = dataplane.frontend(&wrong.key);
            Err(format!("{} is {found:?}, it should be {wrong:?}", wrong.key).into())
        }
        None => Ok(()),
    }
}
