//! What the programs say while somebody debugs them, and that they are as long as ever while nobody does.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use aya::{EbpfLoader, programs::CgroupSockAddr};
use keelson_dataplane::{Object, Talk, plan::Protocol};
use tokio::runtime::Runtime;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Lab, Servers, ask, frontend};

const SERVICE4: &str = "10.96.0.7:80";
const SERVICE6: &str = "[fd00:96::7]:80";
const NOBODY: &str = "10.96.0.8:80";
const SOON: Duration = Duration::from_secs(10);

/// A log that a test reads.
#[derive(Clone)]
struct Lines(mpsc::Sender<String>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn heard(lines: &mpsc::Receiver<String>, wanted: &str) {
    let deadline = Instant::now() + SOON;
    let mut others = String::new();
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if line.contains(wanted) {
            return;
        }
        others += &line;
    }
    panic!("nobody said {wanted:?}, but:\n{others}");
}

#[test]
fn programs_that_are_debugged_name_each_choice_and_each_refusal() {
    let Some(mut lab) = Lab::new("talk") else { return };
    lab.options.talk = Talk::Everything;
    let (sender, lines) = mpsc::channel();
    tracing_subscriber::fmt().with_ansi(false).with_writer(Lines(sender)).init();
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (four, six) = (Servers::tcp("127.0.0.1", 1), Servers::tcp("::1", 1));
    let _dataplane = lab.dataplane(&[
        frontend(Protocol::Tcp, SERVICE4, &four.addresses),
        frontend(Protocol::Tcp, SERVICE6, &six.addresses),
        frontend(Protocol::Tcp, NOBODY, &[]),
    ]);
    let port = |servers: &Servers| servers.addresses[0].port();
    ask(SERVICE4.parse().unwrap()).unwrap();
    heard(&lines, &format!("::ffff:10.96.0.7 port 80 goes to ::ffff:127.0.0.1 port {}", port(&four)));
    ask(SERVICE6.parse().unwrap()).unwrap();
    heard(&lines, &format!("fd00:96::7 port 80 goes to ::1 port {}", port(&six)));
    assert!(TcpStream::connect::<SocketAddr>(NOBODY.parse().unwrap()).is_err());
    heard(&lines, "counted as reason 0");
}

#[test]
fn programs_that_are_silent_are_verified_without_what_they_would_say() {
    let Some(lab) = Lab::new("silence") else { return };
    let Object::File(path) = &lab.options.object else { panic!("the lab names its object") };
    let (silent, talking) = (length(path, 0), length(path, aya_log::Level::Debug as u8));
    assert!(silent + 2_000 < talking, "{silent} bytes of instructions, and {talking} that talk");
}

/// Bytes of the program of connect() for IPv4 as the kernel keeps it.
fn length(object: &Path, level: u8) -> u32 {
    let mut loader = EbpfLoader::new();
    loader.override_global(aya_log::LEVEL, &level, true);
    let mut ebpf = loader.load_file(object).unwrap();
    let program: &mut CgroupSockAddr = ebpf.program_mut("connect4").unwrap().try_into().unwrap();
    program.load().unwrap();
    program.info().unwrap().size_translated().unwrap()
}
