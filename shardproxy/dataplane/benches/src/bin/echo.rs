//! `echo --listen host:port`: answer at once, never go upstream. Prints the address it listens on.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use mio::net::TcpListener;
use shardproxy_bench::args::Args;
use shardproxy_bench::{echo, Protocol};

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--help" || word == "-h") {
        println!("echo [--listen 127.0.0.1:0] [--protocol resp|memcache] [--value-size 32]");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let args = Args::parse(std::env::args().skip(1), &["listen", "protocol", "value-size"], &[])?;
    let address: SocketAddr = args.get_or("listen", SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let protocol: Protocol = args.get_or("protocol", Protocol::Resp)?;
    let value_size = args.get_or("value-size", 32)?;
    let listener = TcpListener::bind(address).map_err(|e| format!("--listen {address}: {e}"))?;
    println!("{}", listener.local_addr().map_err(|e| e.to_string())?);
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    echo::serve(listener, protocol, value_size, &AtomicBool::new(false)).map_err(|e| e.to_string())
}
