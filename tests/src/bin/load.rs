//! keelson-load: connects like any program would, and says what it got. Run on a node by the tests (`cargo xtask enter`).
//!
//! `http HOST:PORT COUNT`, `constant HOST:PORT PAUSE_US` (until its input ends), `udp HOST:PORT COUNT`,
//! `udp-server HOST:PORT ANSWER`, `udp-hold HOST:PORT` (talks to one server until that is dead, then to the next), `bind tcp|udp
//! ADDRESS:PORT`. The clients print a [`Count`] as JSON.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};
use keelson_tests::count::Count;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// For connecting, and for the answer.
const TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["http", target, count] => print(&http(target, count.parse()?)),
        ["constant", target, pause_us] => print(&constant(target, Duration::from_micros(pause_us.parse()?))),
        ["udp", target, count] => print(&udp(target, count.parse()?)?),
        ["udp-server", listen, answer] => udp_server(listen, answer),
        ["udp-hold", target] => udp_hold(target),
        ["bind", protocol, address] => bind(protocol, address),
        _ => bail!("usage: keelson-load http|constant|udp|udp-server|udp-hold|bind ..."),
    }
}

fn print(count: &Count) -> Result<()> {
    println!("{}", serde_json::to_string(count)?);
    Ok(())
}

fn http(target: &str, number: u32) -> Count {
    let mut count = Count::default();
    for _ in 0..number {
        record(&mut count, target);
    }
    count
}

/// What fails before the first answer does not count: the test waits for that answer before it begins.
fn constant(target: &str, pause: Duration) -> Count {
    static STOP: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        STOP.store(true, Ordering::Relaxed);
    });
    let mut count = Count::default();
    let mut started = false;
    let mut known = 0;
    while !STOP.load(Ordering::Relaxed) {
        record(&mut count, target);
        // When it failed: some failures are to be expected at some times.
        let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        count.failures[known..]
            .iter_mut()
            .for_each(|failure| *failure = format!("at {moment:.3}: {failure}"));
        if !started {
            count.failures.clear();
            started = count.answered() > 0;
            if started {
                println!("started");
            }
        }
        known = count.failures.len();
        std::thread::sleep(pause);
    }
    count
}

fn record(count: &mut Count, target: &str) {
    match request(target) {
        Ok(answer) => *count.answers.entry(answer).or_default() += 1,
        Err(error) => count.failures.push(format!("{error:#}")),
    }
}

/// One request over a connection of its own; the name is resolved each time.
fn request(target: &str) -> Result<String> {
    let address = resolve(target)?;
    let mut stream =
        TcpStream::connect_timeout(&address, TIMEOUT).with_context(|| format!("connecting to {address}"))?;
    // A connection to a Service is one to the Service, whoever answers it.
    let peer = stream.peer_addr().context("asking for the peer")?;
    ensure!(peer == address, "connected to {address}, but the peer's name is {peer}");
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {target}\r\n\r\n").as_bytes()).context("asking")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("reading the answer")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the connection ended before the answer did")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "the answer was {head}");
    Ok(body.trim().to_string())
}

fn resolve(target: &str) -> Result<SocketAddr> {
    let mut addresses = target.to_socket_addrs().with_context(|| format!("resolving {target}"))?;
    addresses.next().with_context(|| format!("{target} has no address"))
}

/// Half by an unconnected socket, half by connected ones.
fn udp(target: &str, number: u32) -> Result<Count> {
    let address = resolve(target)?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let unconnected = UdpSocket::bind(any)?;
    unconnected.set_read_timeout(Some(TIMEOUT))?;
    let mut count = Count::default();
    for number in 0..number {
        let answer = if number % 2 == 0 { sent_to(&unconnected, address) } else { connected(any, address) };
        match answer {
            Ok(answer) => *count.answers.entry(answer).or_default() += 1,
            Err(error) => count.failures.push(format!("{error:#}")),
        }
    }
    Ok(count)
}

fn sent_to(socket: &UdpSocket, address: SocketAddr) -> Result<String> {
    socket.send_to(b"who", address).context("sendto")?;
    let mut buffer = [0; 512];
    let (length, from) = socket.recv_from(&mut buffer).context("recvfrom")?;
    ensure!(from == address, "asked {address}, but {from} answered");
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn connected(any: &str, address: SocketAddr) -> Result<String> {
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.connect(address).context("connect")?;
    ensure!(
        socket.peer_addr()? == address,
        "connected to {address}, but the peer's name is {}",
        socket.peer_addr()?
    );
    socket.send(b"who").context("send")?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).context("recv")?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn udp_server(listen: &str, answer: &str) -> Result<()> {
    let socket = UdpSocket::bind(listen).with_context(|| format!("listening on {listen}"))?;
    println!("listening");
    let mut buffer = [0; 512];
    loop {
        let (_, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(answer.as_bytes(), from)?;
    }
}

/// Says who answered, then waits for more, which comes only as an error; then begins anew.
fn udp_hold(target: &str) -> Result<()> {
    loop {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(resolve(target)?)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.send(b"who").context("send")?;
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).context("recv")?;
        println!("answer {}", String::from_utf8_lossy(&buffer[..length]));
        socket.set_read_timeout(None)?;
        match socket.recv(&mut buffer) {
            Ok(_) => bail!("an answer to nothing"),
            Err(error) => println!("ended {:?}", error.kind()),
        }
    }
}

/// Says `bound`, or why not.
fn bind(protocol: &str, address: &str) -> Result<()> {
    let done = match protocol {
        "tcp" => TcpListener::bind(address).map(drop),
        "udp" => UdpSocket::bind(address).map(drop),
        other => bail!("{other} is neither tcp nor udp"),
    };
    println!("{}", done.map_or_else(|error| format!("{:?}", error.kind()), |()| "bound".into()));
    Ok(())
}
