//! The process that holds a pod's namespaces open. As process 1 of a shared process namespace it also reaps orphans.
#![forbid(unsafe_code)]

use nix::sys::{
    signal::{SigSet, Signal},
    wait::{WaitPidFlag, WaitStatus, waitpid},
};

fn main() {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM] {
        signals.add(signal);
    }
    signals.thread_block().expect("the mask holds valid signals");
    // Ends at INT or TERM; process 1 gets no signal whose action is the default one, hence the mask and the wait.
    while signals.wait().is_ok_and(|signal| signal == Signal::SIGCHLD) {
        reap();
    }
}

/// One SIGCHLD may stand for many children.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
