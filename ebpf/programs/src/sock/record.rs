//! The record of a connected socket: put by connect(), asked for by getpeername(), recvmsg() and what measures, dropped at
//! release, or, if the connection is measured, at TCP's end when that comes later.
//!
//! Slots first, the hash of spilled sockets only where a slot says so: see `value::ConnectionSlot`. Only the socket's
//! own calls touch its record, under the socket's lock or as its last act.

use keelson_ebpf_common::{
    drop::Reason,
    net::{Address6, Port},
    value::{Connection, ConnectionSlot},
};

use crate::{
    drops,
    maps::{CONNECTIONS, CONNECTIONS_SPILLED},
    measure::Began,
};

/// The slot of a cookie, looked at: its line is on its way.
pub struct Slot {
    slot: *mut ConnectionSlot,
    cookie: u64,
    holder: u64,
}

impl Slot {
    #[inline(always)]
    pub fn of(cookie: u64) -> Option<Self> {
        let slot = CONNECTIONS.get_ptr_mut(ConnectionSlot::index(cookie))?;
        // SAFETY: a non-null pointer from the map; one load of an aligned word.
        let holder = unsafe { (&raw const (*slot).cookie).read_volatile() };
        Some(Self { slot, cookie, holder })
    }

    /// Remembers the socket. A connection is worth more than the right answer of getpeername(): without room it goes on.
    ///
    /// The record is made where it is stored: by way of the stack its ports would be stored one by one and loaded as one
    /// word, for which a processor waits until both are in the cache.
    #[inline(always)]
    pub fn put(self, began: Began, frontend: (Address6, Port), backend: (Address6, Port)) {
        let record = || Connection {
            frontend: frontend.0,
            backend: backend.0,
            frontend_port: frontend.1,
            backend_port: backend.1,
            epoch: began.epoch,
            connect: began.ticks,
            established: 0,
            state: Connection::begin(began.protocol),
        };
        let Self { slot, cookie, holder } = self;
        // SAFETY: a non-null pointer from the map. Others may look at the slot at the same time: the cookie is stored as
        // one word, and the record counts only for whoever finds his own cookie.
        unsafe {
            if holder == 0 || holder == cookie {
                (&raw mut (*slot).record).write(record());
                (&raw mut (*slot).cookie).write_volatile(cookie);
                return;
            }
            (&raw mut (*slot).spilled).write_volatile(1);
        }
        if CONNECTIONS_SPILLED.insert(&cookie, record(), 0).is_err() {
            drops::count(Reason::ConnectionsFull);
        }
    }
}

/// The record of a socket.
#[inline(always)]
pub fn get(cookie: u64) -> Option<&'static Connection> {
    // SAFETY: while the cookie is ours, nobody else writes what callers of this read; a spilled record is removed only
    // when the socket is released, which this call precedes.
    find(cookie).map(|record| unsafe { &*record })
}

/// The place of a socket's record.
#[inline(always)]
pub fn find(cookie: u64) -> Option<*mut Connection> {
    let slot = CONNECTIONS.get_ptr_mut(ConnectionSlot::index(cookie))?;
    // SAFETY: a non-null pointer from the map, which outlives the program run.
    unsafe {
        if (&raw const (*slot).cookie).read_volatile() == cookie {
            return Some(&raw mut (*slot).record);
        }
        if (&raw const (*slot).spilled).read_volatile() == 0 {
            return None;
        }
    }
    CONNECTIONS_SPILLED.get_ptr_mut(&cookie)
}

/// Forgets a socket.
#[inline(always)]
pub fn remove(cookie: u64) {
    let Some(slot) = CONNECTIONS.get_ptr_mut(ConnectionSlot::index(cookie)) else { return };
    // SAFETY: as in `Slot::put`; stores of one word.
    let spilled = unsafe {
        if (&raw const (*slot).cookie).read_volatile() == cookie {
            (&raw mut (*slot).cookie).write_volatile(0);
        }
        (&raw const (*slot).spilled).read_volatile() != 0
    };
    // A socket that was connected twice may have left a record in either place. Most sockets are in neither, and a
    // removal takes the bucket's lock: look first.
    if spilled && CONNECTIONS_SPILLED.get_ptr(&cookie).is_some() {
        let _ = CONNECTIONS_SPILLED.remove(&cookie);
    }
}
