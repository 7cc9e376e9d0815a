import boto3
import numpy
from hello import cold

assert boto3 and numpy and cold
