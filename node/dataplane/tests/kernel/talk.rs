//! What the programs say while somebody debugs them, and that they are as long as ever while nobody does.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use aya::programs::loaded_programs;
use keelson_dataplane::{Talk, plan::Protocol};
use keelson_sys::bpf::Link;
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
    let Some(mut lab) = Lab::new("silence") else { return };
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let [silent, talking] = [Talk::Silent, Talk::Everything].map(|talk| {
        lab.options.talk = talk;
        let _attached = lab.dataplane(&[]);
        translated_bytes(&lab, "connect4")
    });
    assert!(silent + 2_000 < talking, "{silent} bytes of instructions, and {talking} that talk");
}

/// Length of the program on a hook as the kernel keeps it.
fn translated_bytes(lab: &Lab, hook: &str) -> u32 {
    let link = Link::open_pinned(&lab.pins().join("links").join(hook)).unwrap().unwrap();
    let id = link.cgroup_info().unwrap().unwrap().program_id;
    let mut programs = loaded_programs().filter_map(Result::ok);
    programs.find(|program| program.id() == id).unwrap().size_translated().unwrap()
}
