//! `load --address host:port --workload get`: load one server, print one JSON object.

use std::process::ExitCode;

use shardproxy_bench::args::Args;
use shardproxy_bench::load::{self, OPTIONS, SWITCHES};
use shardproxy_bench::{fanout, Protocol};

const USAGE: &str = "load --address HOST:PORT [--protocol resp|memcache]
     [--workload get|set|mget10|get4k|set4k|multi5|set5|fanout]
     [--connections 50] [--pipeline 1] [--threads 1] [--keys 100000] [--value-size 32]
     [--duration 5] [--warmup 0] [--requests N] [--rate REQUESTS_PER_SECOND]
     [--watch LABEL=PID,PID]... [--no-verify] [--sequential] [--channel NAME]

--duration and --warmup are seconds. --requests stops after that many. --rate sends at that pace and counts latency from
the time a request was due. --watch reports the CPU time of processes. --no-verify does not compare values with keys.
fanout: --connections subscribers of one --channel, --pipeline messages on their way.";

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let args = Args::parse(std::env::args().skip(1), &OPTIONS, &SWITCHES)?;
    if args.get::<String>("workload")?.as_deref() == Some("fanout") {
        if args.get_or("protocol", Protocol::Resp)? == Protocol::Memcache {
            return Err("fanout is pub/sub: --protocol resp only".into());
        }
        let plan = fanout::Plan::from_args(&args)?;
        return fanout::run(&plan).map(|report| report.to_json(&plan)).map_err(|e| e.to_string());
    }
    let plan = load::Plan::from_args(&args)?;
    load::run(&plan).map(|report| report.to_json(&plan)).map_err(|e| e.to_string())
}
