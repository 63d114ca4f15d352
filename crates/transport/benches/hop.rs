//! How long a message takes from one node to another and back: over these links, over a bare
//! blocking socket, and over a socket in an async runtime. And how many bytes go through.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "../tests/transport/node.rs"]
#[allow(dead_code)]
mod node;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    time::Instant,
};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trilith_peer::{Call, Class, LinkConfig, NodeMessage};
use trilith_types::NodeId;

const ROUNDS: usize = 20_000;
const WARM_UP: usize = 2_000;

fn main() {
    for bytes in [256, 64 << 10] {
        for _ in 0..2 {
            show("blocking sockets", bytes, &mut bare(bytes));
            show("async runtime", bytes, &mut runtime(bytes));
            show("links", bytes, &mut links(bytes));
        }
    }
    for bytes in [256, 4 << 10, 64 << 10, 512 << 10] {
        flood(bytes);
    }
}

fn show(what: &str, bytes: usize, micros: &mut [f64]) {
    micros.sort_by(f64::total_cmp);
    let at = |q: f64| micros[(micros.len() as f64 * q) as usize];
    println!(
        "{what:>18} {bytes:>6} B there and back: p50 {:6.1} us  p99 {:6.1} us",
        at(0.5),
        at(0.99)
    );
}

fn time(mut round: impl FnMut()) -> Vec<f64> {
    (0..WARM_UP + ROUNDS)
        .map(|_| {
            let began = Instant::now();
            round();
            began.elapsed().as_secs_f64() * 1e6
        })
        .skip(WARM_UP)
        .collect()
}

fn bare(bytes: usize) -> Vec<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut there, _) = listener.accept().unwrap();
    here.set_nodelay(true).unwrap();
    there.set_nodelay(true).unwrap();
    let echo = std::thread::spawn(move || {
        let mut buffer = vec![0; bytes];
        while there.read_exact(&mut buffer).is_ok() {
            there.write_all(&buffer).unwrap();
        }
    });
    let mut buffer = vec![7; bytes];
    let times = time(|| {
        here.write_all(&buffer).unwrap();
        here.read_exact(&mut buffer).unwrap();
    });
    drop(here);
    echo.join().unwrap();
    times
}

fn runtime(bytes: usize) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut here = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut there, _) = listener.accept().await.unwrap();
        here.set_nodelay(true).unwrap();
        there.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut buffer = vec![0; bytes];
            while there.read_exact(&mut buffer).await.is_ok() {
                there.write_all(&buffer).await.unwrap();
            }
        });
        let rounds = tokio::spawn(async move {
            let mut buffer = vec![7; bytes];
            let mut times = Vec::new();
            for _ in 0..WARM_UP + ROUNDS {
                let began = Instant::now();
                here.write_all(&buffer).await.unwrap();
                here.read_exact(&mut buffer).await.unwrap();
                times.push(began.elapsed().as_secs_f64() * 1e6);
            }
            times.split_off(WARM_UP)
        });
        rounds.await.unwrap()
    })
}

/// Two nodes; each answers on the thread that reads, as a shard would on its own.
fn links(bytes: usize) -> Vec<f64> {
    let nodes = node::cluster(2, LinkConfig::default());
    let (sender, receiver) = mpsc::channel();
    let echo = nodes[1].peers.clone();
    nodes[1].recorder.on_messages(Arc::new(move |message| {
        echo.send(NodeId(1), message);
        echo.flush();
    }));
    nodes[0].recorder.on_messages(Arc::new(move |message| {
        sender.send(message).unwrap();
    }));
    let bytes = Bytes::from(vec![7; bytes]);
    time(|| {
        let bytes = bytes.clone();
        nodes[0].say(2, NodeMessage::Call(Call { id: 1, bytes }));
        receiver.recv().unwrap();
    })
}

/// One node sends as much as there is room for, the other counts.
fn flood(bytes: usize) {
    const TOTAL: usize = 2 << 30;
    let nodes = node::cluster(2, LinkConfig::default());
    let count = (TOTAL / bytes).min(1 << 20);
    let (sender, receiver) = mpsc::channel();
    let got = AtomicUsize::new(0);
    nodes[1].recorder.on_messages(Arc::new(move |_| {
        if got.fetch_add(1, Relaxed) + 1 == count {
            sender.send(()).unwrap();
        }
    }));
    let payload = Bytes::from(vec![7; bytes]);
    let began = Instant::now();
    let spent = cpu();
    for id in 0..count as u64 {
        while nodes[0].peers.room(NodeId(2), Class::Control) < 32 << 20 {
            std::thread::yield_now();
        }
        let bytes = payload.clone();
        nodes[0]
            .peers
            .send(NodeId(2), NodeMessage::Call(Call { id, bytes }));
        if id % 8 == 7 {
            nodes[0].peers.flush();
        }
    }
    nodes[0].peers.flush();
    receiver.recv().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{bytes:>7} B one way: {:8.0} messages/s, {:6.0} MB/s, {:.2} cores",
        count as f64 / seconds,
        (count * bytes) as f64 / seconds / 1e6,
        (cpu() - spent) / seconds
    );
}

/// Processor time of this process in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.split_whitespace().skip(13).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}
