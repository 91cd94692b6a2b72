//! A connection that stays open, and exchanges over several of them by turns.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    Result,
    lab::{Lab, Pair},
};

/// An answer that does not come within this never will.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client's end; the server's is on a thread of its own until this is dropped.
pub(crate) struct Exchange(TcpStream);

impl Exchange {
    pub(crate) fn start(lab: &Lab, pair: Pair, port: u16) -> Result<Self> {
        let (client, server, address) = lab.ends(pair);
        let address = SocketAddr::new(address, port);
        let listener = server.within(|| Ok(TcpListener::bind(address)?))?;
        std::thread::spawn(move || {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut byte = [0];
            let _ = stream.set_nodelay(true);
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        });
        let stream = client.within(|| {
            TcpStream::connect_timeout(&address, PATIENCE)
                .map_err(|e| format!("{pair:?}, {address}: {e}").into())
        })?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// A byte there and back; nanoseconds.
    fn once(&mut self) -> Result<u32> {
        let start = Instant::now();
        self.0.write_all(b"?")?;
        self.0.read_exact(&mut [0])?;
        Ok(start.elapsed().as_nanos() as u32)
    }
}

/// All threads that are started from now on, and the kernel's work for them, on the last CPU.
pub(crate) fn pin() -> Result<()> {
    let mut last = CpuSet::new();
    last.set(std::thread::available_parallelism()?.get() - 1)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &last)?)
}

/// So many exchanges of each, after some that are not told, in an order by chance. Times by way: the same index is the same
/// moment.
pub(crate) fn by_turns(ways: &mut [Exchange], untold: usize, exchanges: usize) -> Result<Vec<Vec<u32>>> {
    let mut times = vec![Vec::with_capacity(exchanges); ways.len()];
    let mut order: Vec<usize> = (0..ways.len()).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..untold + exchanges {
        for last in (1..order.len()).rev() {
            // Marsaglia's xorshift64, Fisher and Yates' shuffle.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(last, (random >> 32) as usize % (last + 1));
        }
        for &way in &order {
            let time = ways[way].once()?;
            if round >= untold {
                times[way].push(time);
            }
        }
    }
    Ok(times)
}
