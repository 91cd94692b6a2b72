//! What the programs say of their decisions while somebody debugs them: out of the ring of each object into the daemon's log.
//!
//! Where they are silent, which is the rule, the verifier removes what they would say, and the ring is a page. A ring that
//! nobody reads fast enough loses what does not fit: to debug, not to count.

use std::{fmt, os::fd::AsFd};

use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use keelson_sys::ready::Readiness;
use log::{Log, Metadata, Record};
use tokio::{runtime::Handle, task::AbortHandle};

use crate::Error;

/// The ring in each object that has something to say.
const RING: &str = "AYA_LOGS";
/// Bytes of a ring that nothing is written to; the least that the kernel takes.
const RING_SILENT: u32 = 4096;
/// Bytes of a ring in use: about a thousand messages.
const RING_TALKING: u32 = 1 << 18;
const LEVEL_SILENT: u8 = 0;
const LEVEL_TALKING: u8 = aya_log::Level::Debug as u8;

/// Whether programs say what they decide.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Talk {
    /// Nothing; it costs nothing.
    #[default]
    Silent,
    /// Every choice of a backend and everything that is counted, as events of the target `keelson::programs`. For the
    /// eyes of whoever debugs: each message costs a microsecond, and may tell who speaks with whom.
    Everything,
}

impl Talk {
    /// Has the programs that are loaded next talk, or not.
    pub(crate) fn prepare(self, loader: &mut EbpfLoader<'_>) {
        let (level, ring) = match self {
            Self::Silent => (&LEVEL_SILENT, RING_SILENT),
            Self::Everything => (&LEVEL_TALKING, RING_TALKING),
        };
        loader.override_global(aya_log::LEVEL, level, true);
        loader.map_max_entries(RING, ring);
    }

    /// Passes on what they say for as long as the listener lives; `None` if they are silent. To be called in a runtime.
    pub(crate) fn listen(self, object: &mut Ebpf) -> Result<Option<Listener>, Error> {
        if self == Self::Silent {
            return Ok(None);
        }
        let refused = |reason: String| Error::Talk { reason };
        let runtime = Handle::try_current().map_err(|e| refused(e.to_string()))?;
        let logger = EbpfLogger::init_with_logger(object, Events).map_err(|e| refused(e.to_string()))?;
        let _entered = runtime.enter();
        let ring = Readiness::of(logger.as_fd()).map_err(|e| refused(e.to_string()))?;
        Ok(Some(Listener(runtime.spawn(pass_on(ring, logger)).abort_handle())))
    }
}

/// Ends with it.
pub(crate) struct Listener(AbortHandle);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pass_on(ring: Readiness, mut logger: EbpfLogger<Events>) {
    while ring.ready().await.is_ok() {
        logger.flush();
    }
}

/// Turns what `aya_log` reads into events of the daemon's own log.
struct Events;

impl Log for Events {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        tracing::info!(target: "keelson::programs", program = record.target(), "{}", record.args());
    }

    fn flush(&self) {}
}
