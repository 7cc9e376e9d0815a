"""SQS by boto3, `aws` and the Query protocol of older SDKs: shapes, order, limits, errors."""

import functools
import gzip
import hashlib
import json
import pathlib
import sys
import urllib.parse
import xml.etree.ElementTree

import botocore
import botocore.auth
import pytest

import wire
from conftest import judged
from functions import fresh_name
from squall_server import Server, wait_until

NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"
# Sent by SQS, not in its model.
UNMODELLED = {"InvalidParameterValue", "MissingParameter", "InvalidAction", "SerializationException"}


@functools.cache
def model():
    folder = pathlib.Path(botocore.__file__).parent / "data" / "sqs" / "2012-11-05"
    return json.loads(gzip.decompress((folder / "service-2.json.gz").read_bytes()))


def check_response(operation_model, response_dict, **_):
    """Fails a call whose raw answer is not what botocore's model promises."""
    problems = list(problems_of(operation_model.name, response_dict))
    assert not problems, f"{operation_model.name}: {problems}\n{response_dict}"


def problems_of(operation, response):
    headers = {name.lower(): value for name, value in response["headers"].items()}
    content = json.loads(response["body"] or b"{}")
    if headers.get("content-type") != "application/x-amz-json-1.0" or not headers.get("x-amzn-requestid"):
        yield f"headers {headers}"
    if response["status_code"] >= 300:
        name = content.get("__type", "").removeprefix("com.amazonaws.sqs#")
        errors = {error["shape"] for error in model()["operations"][operation]["errors"]}
        if name not in errors | UNMODELLED or not content.get("message"):
            yield f"the error {content} is not one of {errors}"
        if not headers.get("x-amzn-query-error", "").endswith(";Sender"):
            yield f"x-amzn-query-error is {headers.get('x-amzn-query-error')}"
        return
    output = model()["operations"][operation].get("output")
    yield from problems_of_value(output["shape"], content, operation) if output else ([content] if content else [])


def problems_of_value(name, value, path):
    shape = model()["shapes"][name]
    kind = {"structure": dict, "map": dict, "list": list, "string": str, "blob": str, "boolean": bool}.get(shape["type"], int)
    if not isinstance(value, kind):
        yield f"{path} is {value!r}, not {shape['type']}"
    elif shape["type"] == "structure":
        yield from (f"{path}.{key} is missing" for key in shape.get("required", []) if key not in value)
        for key, item in value.items():
            if key not in shape["members"]:
                yield f"{path}.{key} is unknown to {name}"
            else:
                yield from problems_of_value(shape["members"][key]["shape"], item, f"{path}.{key}")
    elif shape["type"] == "list":
        for item in value:
            yield from problems_of_value(shape["member"]["shape"], item, f"{path}[]")
    elif shape["type"] == "map":
        for key, item in value.items():
            yield from problems_of_value(shape["key"]["shape"], key, f"{path} key")
            yield from problems_of_value(shape["value"]["shape"], item, f"{path}.{key}")
    elif "enum" in shape and value not in shape["enum"]:
        yield f"{path} is {value}, not in {name}"


@pytest.fixture(scope="module")
def sqs(server):
    client = server.client("sqs")
    client.meta.events.register("before-parse.sqs", check_response)
    return client


def queue(sqs, suffix="", **attributes):
    return sqs.create_queue(QueueName=fresh_name("q") + suffix, Attributes=attributes)["QueueUrl"]


def arn_of(sqs, url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def drain(sqs, url, wanted):
    """Receives and deletes until so many have come, or nothing comes any more."""
    bodies = []
    while len(bodies) < wanted:
        got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2).get("Messages", [])
        if not got:
            break
        bodies += [one["Body"] for one in got]
        entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(got)]
        assert sqs.delete_message_batch(QueueUrl=url, Entries=entries)["Failed"] == []
    return bodies


def refused(call, code, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value.response
    return error.value.response


def test_the_life_of_a_queue(sqs):
    name = fresh_name("life")
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "7"}, tags={"a": "1"})["QueueUrl"]
    assert url.endswith(f"/000000000000/{name}")
    assert sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "7"})["QueueUrl"] == url
    refused(sqs.create_queue, "QueueAlreadyExists", QueueName=name, Attributes={"VisibilityTimeout": "8"})
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
    assert url in sqs.list_queues(QueueNamePrefix=name[:6])["QueueUrls"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "3"})
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (shown["VisibilityTimeout"], shown["DelaySeconds"]) == ("7", "3")
    assert shown["QueueArn"] == f"arn:aws:sqs:us-east-1:000000000000:{name}"
    sqs.tag_queue(QueueUrl=url, Tags={"b": "2"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["a"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"b": "2"}
    sqs.delete_queue(QueueUrl=url)
    refused(sqs.get_queue_url, "AWS.SimpleQueueService.NonExistentQueue", QueueName=name)
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.send_message(QueueUrl=url, MessageBody="late")


def test_pages_of_queues(sqs):
    prefix = fresh_name("page")
    urls = [sqs.create_queue(QueueName=f"{prefix}-{n}")["QueueUrl"] for n in range(5)]
    pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2})
    assert [url for page in pages for url in page["QueueUrls"]] == urls


def test_a_message_comes_as_it_was_sent(sqs):
    url = queue(sqs)
    body = "grüße <&> \r\n\t \U0001f980"
    sent = sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes={
        "text": {"DataType": "String", "StringValue": "ä"},
        "number.x": {"DataType": "Number.int", "StringValue": "5"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\0\xff"},
    }, MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-a"}})
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    [got] = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"])["Messages"]
    assert (got["Body"], got["MessageId"]) == (body, sent["MessageId"])
    assert got["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"] == md5_of_attributes(got["MessageAttributes"])
    assert got["MessageAttributes"]["raw"]["BinaryValue"] == b"\0\xff"
    assert got["Attributes"]["ApproximateReceiveCount"] == "1" and got["Attributes"]["AWSTraceHeader"] == "Root=1-a"
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=0)
    [again] = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["number.*"])["Messages"]
    assert list(again["MessageAttributes"]) == ["number.x"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    refused(sqs.change_message_visibility, "AWS.SimpleQueueService.MessageNotInflight",
            QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=0)


def md5_of_attributes(attributes):
    """As the SDKs compute it; written from the documentation."""
    total = hashlib.md5()
    piece = lambda data: total.update(len(data).to_bytes(4, "big") + data)
    for name, attribute in sorted(attributes.items()):
        piece(name.encode())
        piece(attribute["DataType"].encode())
        total.update(b"\2" if "BinaryValue" in attribute else b"\1")
        piece(attribute.get("BinaryValue") or attribute["StringValue"].encode())
    return total.hexdigest()


def test_batches_answer_entry_by_entry(sqs):
    url = queue(sqs)
    answer = sqs.send_message_batch(QueueUrl=url, Entries=[
        {"Id": "good", "MessageBody": "a"}, {"Id": "bad", "MessageBody": "b\x02"}])
    assert [one["Id"] for one in answer["Successful"]] == ["good"]
    assert [(one["Id"], one["Code"], one["SenderFault"]) for one in answer["Failed"]] == [("bad", "InvalidMessageContents", True)]
    [got] = sqs.receive_message(QueueUrl=url)["Messages"]
    changed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=[
        {"Id": "1", "ReceiptHandle": got["ReceiptHandle"], "VisibilityTimeout": 9},
        {"Id": "2", "ReceiptHandle": "junk", "VisibilityTimeout": 9}])
    assert [one["Id"] for one in changed["Successful"]] == ["1"]
    assert [one["Code"] for one in changed["Failed"]] == ["ReceiptHandleIsInvalid"]
    entries = [{"Id": str(n), "MessageBody": "x"} for n in range(11)]
    many = "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"
    refused(sqs.send_message_batch, many, QueueUrl=url, Entries=entries)
    twice = [{"Id": "same", "MessageBody": "x"}] * 2
    refused(sqs.send_message_batch, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", QueueUrl=url, Entries=twice)
    large = [{"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)]
    refused(sqs.send_message_batch, "AWS.SimpleQueueService.BatchRequestTooLong", QueueUrl=url, Entries=large)
    refused(sqs.send_message_batch, "AWS.SimpleQueueService.EmptyBatchRequest", QueueUrl=url, Entries=[])


def test_bad_input_is_named(sqs):
    url = queue(sqs, MaximumMessageSize="1024")
    refused(sqs.send_message, "InvalidParameterValue", QueueUrl=url, MessageBody="x" * 1025)
    refused(sqs.send_message, "InvalidMessageContents", QueueUrl=url, MessageBody="\x01")
    refused(sqs.send_message, "MissingParameter", QueueUrl=url, MessageBody="")
    refused(sqs.send_message, "InvalidParameterValue", QueueUrl=url, MessageBody="x", DelaySeconds=901)
    refused(sqs.receive_message, "InvalidParameterValue", QueueUrl=url, MaxNumberOfMessages=11)
    refused(sqs.delete_message, "ReceiptHandleIsInvalid", QueueUrl=url, ReceiptHandle="nonsense")
    refused(sqs.set_queue_attributes, "InvalidAttributeName", QueueUrl=url, Attributes={"Colour": "red"})
    refused(sqs.set_queue_attributes, "InvalidAttributeValue", QueueUrl=url, Attributes={"DelaySeconds": "x"})
    refused(sqs.create_queue, "InvalidParameterValue", QueueName="a b")
    refused(sqs.add_permission, "AWS.SimpleQueueService.UnsupportedOperation",
            QueueUrl=url, Label="l", AWSAccountIds=["1"], Actions=["*"])


def test_groups_keep_their_order_and_duplicates_are_taken_once(sqs):
    url = queue(sqs, ".fifo", FifoQueue="true", ContentBasedDeduplication="true")
    sequences = []
    for number in range(6):
        sent = sqs.send_message(QueueUrl=url, MessageBody=f"{number}", MessageGroupId=f"g{number % 2}")
        sequences.append(sent["SequenceNumber"])
    assert sequences == sorted(sequences) and len(sequences[0]) == 20
    again = sqs.send_message(QueueUrl=url, MessageBody="3", MessageGroupId="g1")
    assert again["SequenceNumber"] == sequences[3]
    first = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=2, AttributeNames=["All"])["Messages"]
    assert [one["Body"] for one in first] == ["0", "2"]
    assert first[0]["Attributes"]["MessageGroupId"] == "g0"
    assert first[0]["Attributes"]["SequenceNumber"] == sequences[0]
    second = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [one["Body"] for one in second] == ["1", "3", "5"]
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    for one in first:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    assert drain(sqs, url, 1) == ["4"]
    refused(sqs.send_message, "MissingParameter", QueueUrl=url, MessageBody="x")


def test_dead_letters_and_their_way_back(sqs):
    dead = queue(sqs)
    policy = json.dumps({"deadLetterTargetArn": arn_of(sqs, dead), "maxReceiveCount": "1"})
    url = queue(sqs, RedrivePolicy=policy, VisibilityTimeout="0")
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "poison"
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    [got] = sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=10, AttributeNames=["All"], VisibilityTimeout=0)["Messages"]
    assert got["Attributes"]["DeadLetterQueueSourceArn"] == arn_of(sqs, url)
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]
    assert sqs.start_message_move_task(SourceArn=arn_of(sqs, dead))["TaskHandle"]
    assert sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"][0]["Body"] == "poison"
    done = lambda: sqs.list_message_move_tasks(SourceArn=arn_of(sqs, dead))["Results"][0]["Status"] == "COMPLETED"
    wait_until("the move is completed", done)
    missing = json.dumps({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:none", "maxReceiveCount": 1})
    refused(sqs.create_queue, "InvalidParameterValue", QueueName=fresh_name(), Attributes={"RedrivePolicy": missing})


def test_a_long_poll_ends_with_the_message_that_comes(server, sqs):
    import concurrent.futures

    url = queue(sqs)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        polls = [pool.submit(sqs.receive_message, QueueUrl=url, WaitTimeSeconds=20) for _ in range(4)]
        for number in range(4):
            sqs.send_message(QueueUrl=url, MessageBody=str(number))
        bodies = sorted(poll.result()["Messages"][0]["Body"] for poll in polls)
    assert bodies == ["0", "1", "2", "3"]


def test_a_purge_empties_a_queue_once_a_minute(sqs):
    url = queue(sqs)
    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    sqs.purge_queue(QueueUrl=url)
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    refused(sqs.purge_queue, "AWS.SimpleQueueService.PurgeQueueInProgress", QueueUrl=url)


def test_everything_is_there_after_a_restart(workdir):
    server = Server(workdir / "restarted")
    with judged(server):
        check_restart(server.start())


def check_restart(server):
    sqs = server.client("sqs")
    name, fifo = fresh_name("kept"), fresh_name("kept") + ".fifo"
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "600"}, tags={"t": "1"})["QueueUrl"]
    ordered = sqs.create_queue(QueueName=fifo, Attributes={"FifoQueue": "true"})["QueueUrl"]
    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
        sqs.send_message(QueueUrl=ordered, MessageBody=str(number), MessageGroupId="g", MessageDeduplicationId=str(number))
    held = sqs.receive_message(QueueUrl=url)["Messages"][0]
    server.restart()
    after = server.client("sqs")
    url, ordered = (after.get_queue_url(QueueName=n)["QueueUrl"] for n in (name, fifo))
    assert after.list_queue_tags(QueueUrl=url)["Tags"] == {"t": "1"}
    assert sorted(drain(after, url, 2)) == sorted({"0", "1", "2"} - {held["Body"]})
    counts = after.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"])
    assert counts["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "1"
    after.send_message(QueueUrl=ordered, MessageBody="2", MessageGroupId="g", MessageDeduplicationId="2")
    assert drain(after, ordered, 4) == ["0", "1", "2"]


class OfSqs(botocore.auth.SigV4Auth):
    """Signs for SQS, whatever it is told."""

    def __init__(self, credentials, _service, region):
        super().__init__(credentials, "sqs", region)


def query(server, path="/", **members):
    """One request of the Query protocol: (status, document)."""
    body = urllib.parse.urlencode({"Version": "2012-11-05"} | {name.replace("__", "."): v for name, v in members.items()})
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    answer = wire.send_signed(server, path, "POST", headers, body.encode(), signer=OfSqs)
    assert answer.headers["content-type"] == "text/xml", answer
    return answer.status, xml.etree.ElementTree.fromstring(answer.body)


def text_of(document, path):
    found = document.find("/".join(f"{NAMESPACE}{part}" for part in path.split("/")))
    return None if found is None else found.text


def test_older_sdks_speak_the_query_protocol(server):
    name = fresh_name("query")
    status, made = query(server, Action="CreateQueue", QueueName=name, Attribute__1__Name="VisibilityTimeout",
                         Attribute__1__Value="0", Tag__1__Key="k", Tag__1__Value="v")
    url = text_of(made, "CreateQueueResult/QueueUrl")
    assert status == 200 and url.endswith(name)
    path = urllib.parse.urlsplit(url).path
    status, sent = query(server, path, Action="SendMessage", MessageBody="a <b> & c", MessageAttribute__1__Name="n",
                         MessageAttribute__1__Value__DataType="String", MessageAttribute__1__Value__StringValue="v")
    assert text_of(sent, "SendMessageResult/MD5OfMessageBody") == hashlib.md5(b"a <b> & c").hexdigest()
    status, batch = query(server, path, Action="SendMessageBatch", SendMessageBatchRequestEntry__1__Id="one",
                          SendMessageBatchRequestEntry__1__MessageBody="b", SendMessageBatchRequestEntry__1__DelaySeconds="9")
    assert text_of(batch, "SendMessageBatchResult/SendMessageBatchResultEntry/Id") == "one"
    status, got = query(server, Action="ReceiveMessage", QueueUrl=url, AttributeName__1="All", MessageAttributeName__1="All")
    message = "ReceiveMessageResult/Message"
    assert text_of(got, f"{message}/Body") == "a <b> & c"
    assert text_of(got, f"{message}/MessageAttribute/Value/StringValue") == "v"
    status, done = query(server, Action="DeleteMessage", QueueUrl=url, ReceiptHandle=text_of(got, f"{message}/ReceiptHandle"))
    assert status == 200 and text_of(done, "ResponseMetadata/RequestId")
    status, shown = query(server, path, Action="GetQueueAttributes", AttributeName__1="DelaySeconds")
    assert text_of(shown, "GetQueueAttributesResult/Attribute/Value") == "0"
    status, refusal = query(server, Action="GetQueueUrl", QueueName="none")
    assert (status, text_of(refusal, "Error/Code")) == (400, "AWS.SimpleQueueService.NonExistentQueue")
    status, refusal = query(server, Action="Nonsense")
    assert (status, text_of(refusal, "Error/Code")) == (400, "InvalidAction")


def test_a_stranger_learns_nothing(server):
    sqs = server.client("sqs", aws_secret_access_key="wrong", aws_access_key_id=server.env["AWS_ACCESS_KEY_ID"])
    refused(sqs.list_queues, "InvalidSignatureException")


def test_the_aws_command(server, workdir):
    aws = lambda *words: server.run(sys.executable, pathlib.Path(sys.executable).with_name("aws"), "sqs", *words,
                                    "--endpoint-url", server.endpoint, cwd=workdir).stdout
    url = json.loads(aws("create-queue", "--queue-name", fresh_name("aws")))["QueueUrl"]
    aws("send-message", "--queue-url", url, "--message-body", "hello")
    got = json.loads(aws("receive-message", "--queue-url", url, "--wait-time-seconds", "5"))["Messages"][0]
    assert got["Body"] == "hello"
    aws("delete-message", "--queue-url", url, "--receipt-handle", got["ReceiptHandle"])
    assert aws("receive-message", "--queue-url", url) == ""
