use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus as Status, health_client::HealthClient,
};

use super::*;
use crate::runtime::dial::dial;

struct Running {
    address: SocketAddr,
    health: HealthReporter,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<Result<(), ServeError>>,
}

async fn start() -> Running {
    let listener = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (health, shutdown) = (HealthReporter::new(), CancellationToken::new());
    let serving =
        tokio::spawn(serve(listener, Routes::default(), &[], health.clone(), Registry::default(), shutdown.clone()));
    Running { address, health, shutdown, serving }
}

async fn http(address: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn health_and_metrics_share_one_port() {
    let running = start().await;
    running.health.set_service_status("herdsman.v1.TaskService", ServingStatus::NotServing).await;
    let mut client = HealthClient::new(dial(&running.address.to_string()).await.unwrap());
    let mut check = async |service: &str| {
        client.check(HealthCheckRequest { service: service.into() }).await.map(|reply| reply.into_inner().status())
    };
    assert_eq!(check("").await.unwrap(), Status::Serving);
    assert_eq!(check("herdsman.v1.TaskService").await.unwrap(), Status::NotServing);
    assert_eq!(check("unknown").await.unwrap_err().code(), tonic::Code::NotFound);

    let answer = http(running.address, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("herdsman_connections_open 2"), "{answer}");
    assert!(answer.trim_end().ends_with("# EOF"), "{answer}");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_those_who_hang_around() {
    let running = start().await;
    let mut silent = tokio::net::TcpStream::connect(running.address).await.unwrap();
    let mut client = HealthClient::new(dial(&running.address.to_string()).await.unwrap());
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());

    let start = Instant::now();
    running.shutdown.cancel();
    running.serving.await.unwrap().unwrap();
    // Far above the grace, far below "never".
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(tokio::net::TcpStream::connect(running.address).await.is_err(), "the port is free");
    assert!(!matches!(watch.message().await, Ok(Some(_))), "the stream has ended");
    assert!(matches!(silent.read(&mut [0; 1]).await, Ok(0) | Err(_)), "the silent connection was closed");
}

#[tokio::test]
async fn a_taken_port_and_an_open_address_are_refused_in_words() {
    let running = start().await;
    let taken = bind(running.address, false).await.unwrap_err();
    assert!(matches!(taken, BindError::Taken(address) if address == running.address), "{taken}");
    let open = bind("0.0.0.0:0".parse().unwrap(), false).await.unwrap_err();
    assert!(matches!(open, BindError::NotLoopback(_)), "{open}");
    assert!(bind("0.0.0.0:0".parse().unwrap(), true).await.is_ok());
}

#[tokio::test]
async fn nobody_there_is_an_error_with_its_cause() {
    let listener = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = dial(&address).await.unwrap_err().to_string();
    assert!(error.contains(&address) && error.contains("refused"), "{error}");
    for bad in ["", "localhost", "localhost:port", "http://localhost:1", "user@host:1"] {
        assert!(dial(bad).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_body_that_never_comes_holds_no_connection() {
    let running = start().await;
    let request = "POST /herdsman.v1.TaskService/SubmitTask HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    // It returns only when the server has closed the connection.
    let answer = tokio::time::timeout(Duration::from_secs(10), http(running.address, request)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 505"), "{answer}");
}
